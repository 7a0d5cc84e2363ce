"""Reports: what was judged, for each of their readers.

`assemble` makes a `model.Report` of a plan, a judgement and a manifest; `disclosure_control` makes
of it what an audience may see; each of `formats` writes it, with the words of `wording` and the
drawings of `charts`, and decides nothing. `comparison` sets two reports side by side.
"""
