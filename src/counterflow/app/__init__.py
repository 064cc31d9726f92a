"""The page of `counterflow app`: a local window on the editor, in Gradio (extra `[app]`).

`serve.py` opens the model and the page; `studio.py` holds the model, for one piece of work at a
time; `session.py` what belongs to one open tab; `editing.py` makes edits and tells of them;
`page.py` and the `*_tab.py` draw the page.
"""
