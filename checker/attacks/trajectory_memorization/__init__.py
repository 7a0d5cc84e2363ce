"""T1: does the model repeat what truly followed, or anybody's record?"""
