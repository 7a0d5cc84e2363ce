"""Fixed words that every format shows alike, and the glossary."""

from __future__ import annotations

NOT_PROOF = (
    "This is not proof of anonymity, and it says nothing about attacks that were not run, about"
    " attribute classes that the policy does not name, or about any other version of the model."
)

CANNOT_PASS = "cannot pass, can only fail"

OUT_OF_SCOPE = "out of scope"
"""Of a square that no requirement of the policy asks for."""

NOT_SHOWN = "withheld: it could be traced to fewer patients than the policy allows to be shown"

VERDICT_WORDS = {
    "pass": "pass",
    "fail": "fail",
    "inconclusive": "inconclusive",
    "not_applicable": "not applicable",
    "error": "error",
}

WAIVER_STATUS = {
    "applied": "applies",
    "void": "void",
    "not-started": "not in force yet",
    "unused": "not needed: withdraw it",
    "expired": "expired",
    "refused": "refused",
}

ACCESS = {
    "samples": "sees what the model generates",
    "logprobs": "sees what the model generates and the probability of each token",
    "embeddings": "sees what the model generates and its internal representations",
}

CONTEXTS = {
    "public-weights": "publishing the weights",
    "gated": "sharing the model under an agreement",
    "internal": "using the model inside the institution",
}

ENFORCEMENT = {
    "advisory": "advisory: reported, never decides",
    "mandatory": "mandatory: decides, can be waived",
    "absolute": "absolute: decides, can never be waived",
}

BASES = {
    "legal-duty": "legal duty",
    "guidance": "guidance",
    "evidence": "evidence",
    "analogy": "analogy",
    "context": "context, asks nothing of whoever releases a model",
    "institutional-choice": "institutional choice",
}

GLOSSARY = (
    ("Attack that can only fail", "One that can show a leak and never its absence. A test judged by"
                                  " it fails or stays inconclusive; it cannot pass."),
    ("AUROC", "How well a score tells two groups apart: 0.5 is chance, 1 is perfect."),
    ("Bound", "The truth lies below the upper bound (or above the lower one) with the stated"
              " confidence. Each bound holds on its own."),
    ("Canary, beacon", "A made-up patient; a coin decided whether it was trained on. A beacon"
                       " certainly was, many times over, so that an attack that works finds it."),
    ("Control", "One requirement of the policy, with a limit per attacker."),
    ("Difference in differences", "The excess that is left when what a reference model, trained"
                                  " without these members, says of the same patients is"
                                  " subtracted patient by patient."),
    ("Eligible", "A patient who has the class, and in whose true record it follows within the"
                 " horizon behind what the attacker knows."),
    ("ε (epsilon)", "The parameter of differential privacy. An attack shows that it is at least so"
                    " large; nothing that an attack does can show that it is small."),
    ("Excess", "The rate among members minus the rate among nonmembers, in percentage points. A"
               " model that merely knows medicine has none."),
    ("Exposure", "How high a planted canary ranks among equals that were left out, in bits: each"
                 " halves the rank. 1.44 bits is chance."),
    ("Inconclusive", "Neither shown to be within the limit nor shown to be beyond it. Never counted"
                     " as a pass."),
    ("Members, nonmembers", "Patients the model was trained on; patients of the same source that it"
                            " never saw."),
    ("Placebo", "The same measurement between two random halves of the nonmembers, where nothing"
                " can differ."),
    ("Reported only", "Measured and shown, but not decisive: the policy says so."),
    ("Test", "One control, one attacker, one group of patients: the unit that gets a verdict."),
    ("Waiver", "A written, approved and dated acceptance of one finding, up to a ceiling. The"
               " finding stays what it is; it does not block while it is shown to be within the"
               " ceiling."),
    ("Verdict", "Pass: the upper bound is within the limit. Fail: the lower bound is beyond it,"
                " also after correction for the number of tests."),
)  # fmt: skip
