"""T4: can it be told who was trained on?"""
