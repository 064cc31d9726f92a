"""Methods of the field, one file each, run by one loop; `registry` lists them."""
