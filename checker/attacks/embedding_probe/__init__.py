"""T3: do embeddings tell a patient's sensitive attribute?"""
