"""One search for every method: random settings, of which the better half goes on to more cases."""
