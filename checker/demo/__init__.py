"""`phigate demo`: a cohort with planted secrets, a model that repeats them and one that does not.

The demo shows both controls of METHODS §7 end to end: under the same policy the over-trained model
must fail and the sound one must pass, or the checker is not worth trusting with a real model.
"""
