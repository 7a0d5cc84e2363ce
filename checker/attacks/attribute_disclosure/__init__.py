"""T2: does the model tell a patient's sensitive attribute?"""
