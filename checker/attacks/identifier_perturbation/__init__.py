"""T5: does a disclosure collapse when an identifier changes?"""
