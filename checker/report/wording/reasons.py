"""Why a test was not decided, in words, and what to do about it.

A test collects every reason that the judge, the checks and the estimators can give, and fails when
one has no words here.
"""

from __future__ import annotations

from dataclasses import dataclass

from checker.report.wording.plain import plain


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a cell got no verdict: in a few words, in a sentence, and what to do about it."""

    short: str
    meaning: str
    next_step: str
    if_gating: str = ""
    """What helps besides where the test decides: to let it decide nothing."""

    def advice(self, *, gating: bool) -> str:
        """Return what to do about it."""
        return f"{self.next_step} {self.if_gating}" if gating and self.if_gating else self.next_step


UNDECIDED = "not-decided-by-numbers"
"""In a shared report, instead of a reason that would tell how many there were, or were hit."""

REASONS = {
    # --- too few
    "too-few-positives": Reason(
        "too few patients with the class",
        "Too few patients have the class for a bound that could be relied on.",
        "Audit on more patients with the class, or widen the class where that is medically right.",
    ),
    "too-few-members": Reason(
        "too few members",
        "Too few patients of the training data were there to be measured.",
        "Audit on more of the patients that the model was trained on.",
    ),
    "too-few-nonmembers": Reason(
        "too few nonmembers",
        "Too few comparable patients whom the model never saw: without them, leakage cannot be told"
        " from medical knowledge.",
        "Hold out more patients before training, or add patients of the same source.",
    ),
    "too-few-patients": Reason(
        "too few patients",
        "Too few patients were there to be measured.",
        "Audit on more patients.",
    ),
    "too-few-labels": Reason(
        "attacker has too few labels",
        "The share of members whose class this attacker knows is too small to hold patients with"
        " and without the class, so no classifier could be fitted.",
        "Raise labelShare in a new control, or audit on more members.",
    ),
    "too-few-rollouts": Reason(
        "too few continuations",
        "What is counted here are continuations, and even if none of them repeated anybody, so few"
        " could not show that the limit is kept.",
        "Raise samples in a new control; more patients of the same few prompts would not help.",
    ),
    "too-few-canaries": Reason(
        "too few canaries",
        "Too few canaries were planted, or left out, for bounds that could be relied on.",
        "Plant more before the next training: `phigate canaries make --count`.",
    ),
    "no-variation": Reason(
        "hardly any two patients differ",
        "So many of the numbers are equal that their spread, and with it any bound, is unknown.",
        "Audit on more patients, or use a metric that counts patients.",
    ),
    "horizon-too-short": Reason(
        "class lies beyond the horizon",
        "Enough patients have the class, but in too few of them it follows closely enough behind"
        " what the attacker knows for the model to reach it.",
        "Raise horizonTokens in a new control, or add patients.",
    ),
    "prompts-too-long": Reason(
        "prompts fill the model's context",
        "What this attacker knows of many patients takes up all that the model sees at once, so it"
        " has no room to go on and cannot be asked.",
        "Ask with fewer events (knows.events): a policy that extends another may where that allows"
        " it (adjustable), or in a new attacker; or with `events: all`, which is told as much of"
        " the record as the model was trained to see; or audit a model with a longer context.",
    ),
    "empty-records": Reason(
        "records hold nothing to score",
        "A record has no token behind its first, so the model's surprise at it is no number.",
        "Leave such patients out of the data set, or correct the target's tokenization.",
    ),
    # --- subgroups
    "subgroup-empty": Reason(
        "nobody in this subgroup",
        "No member belongs to this subgroup, so there was nothing to test.",
        "Nothing, if that is true of the data; otherwise correct the subgroup in the policy.",
    ),
    "subgroup-too-small": Reason(
        "subgroup too small to show",
        "The subgroup has fewer patients than the policy allows to be shown, so that its numbers"
        " could reveal single patients: it is neither judged nor shown.",
        "Audit on more patients, or join it with another subgroup in the policy.",
    ),
    # --- what the number would not mean
    "prompt-not-identifying": Reason(
        "prompt fits many patients",
        "Many patients share what this attacker knows, so naming one member's diagnosis looks the"
        " same as knowing the population.",
        "Gate such an attacker by trajectory-memorization's regurgitation_excess, which means as"
        " much where all share one prompt.",
        if_gating="Or let this attacker be reported only.",
    ),
    "identifier-not-in-prompt": Reason(
        "prompt tells no age",
        "Members were disclosed, but their prompts tell no age that could be changed, so the attack"
        " could not be run on any of them.",
        "Ask an attacker who knows the age, and check that the vocabulary has the ages beside it.",
    ),
    "cannot-show-absence": Reason(
        "this attack can only fail a model",
        "No leak beyond the limit was shown, and this attack can show a leak but never its"
        " absence: it cannot pass, it can only fail.",
        "Nothing has to be mended. Let another control decide, and mark this one with"
        " onInconclusive: warn.",
    ),
    # --- comparability
    "split-not-comparable": Reason(
        "members and nonmembers differ",
        "Members and nonmembers could be told apart, or could not be shown to be alike, without any"
        " model: a difference between them need not be memorization.",
        "Take nonmembers of the same source and period, split at random, or audit on more of them.",
    ),
    "split-overlap": Reason(
        "patients in both groups",
        "Some nonmembers have a member's whole record, or more of them than strangers would have a"
        " member's codes in the same order: the nonmembers are not patients the model never saw.",
        "Remove who is in both groups from the nonmembers and run the audit again.",
    ),
    "near-duplicates": Reason(
        "many near-duplicate records in both groups",
        "More nonmembers than the policy allows have a record that nearly equals a member's: the"
        " model may have seen them under another name. A few would have been left out.",
        "De-duplicate across the splits (the run's near-duplicates.txt names whom) and run the"
        " audit again.",
    ),
    "nonmembers-known-to-model": Reason(
        "model may know the nonmembers",
        "Nonmembers are compared with as patients that the model never saw, and this model knows"
        " them, or nobody could look whether it does: a model that was trained on both groups has"
        " no excess, whatever it remembers.",
        "Check that the two splits are not exchanged, and that the nonmembers were not trained on;"
        " name patients that were kept apart (data.nonmembers, data.spare).",
    ),
    "spare-not-comparable": Reason(
        "spare patients are unlike the nonmembers",
        "A table of tokens, which knows no model, tells spare patients from nonmembers: they are"
        " other kinds of patients, of another time or place or chosen by another rule, and it"
        " cannot be shown that the model does not know the nonmembers, whatever its scores say.",
        "Name spare patients who were set apart as the nonmembers were, by the same lot: without"
        " comparable ones nothing shows that the model does not know the nonmembers.",
    ),
    "reference-knows-members": Reason(
        "reference model knows the members",
        "The reference model itself tells members from nonmembers, as a model does that was trained"
        " on them: what is subtracted would be the leak itself.",
        "Train the reference on patients who are no members, and check that the two splits are not"
        " exchanged.",
    ),
    "placebo-failed": Reason(
        "placebo found a difference",
        "The same measurement found a difference between two random halves of the nonmembers, where"
        " there is none: the instrument is broken for these data.",
        "Look for repeated or ordered records among the nonmembers, and do not trust this cell.",
    ),
    "worse-than-chance": Reason(
        "worse than chance",
        "The attack finds nonmembers rather than members, or ranks worse than guessing would,"
        " beyond chance: it does not look at the patients that it is told it looks at.",
        "Are the splits exchanged (data.members, data.nonmembers), or of another release of the"
        " data? Has the reference model seen the members? Correct the target and run it again.",
    ),
    "attack-not-shown-to-work": Reason(
        "attack not shown to work",
        "The attack was not shown to find what it must find if it works: the model may not"
        " understand the prompts it was given, or may not have been trained on what was planted."
        " So silence means nothing.",
        "Compare the target's tokenization (start token, order of static facts, age) with the one"
        " the model was trained on. Of canaries, check that their shard was trained on.",
    ),
    "declared-privacy-refuted": Reason(
        "declared guarantee disproved",
        "The canaries show more of the training data than the differential privacy that the owner"
        " declares allows: the training was not what is declared.",
        "Find out what the training did otherwise (clipping, noise, accounting, the unit that is"
        " protected), and correct study.training.differentialPrivacy, or train again.",
    ),
    "expectation-not-met": Reason(
        "trainer expects something else",
        "What the target declares that its trainer expects, token sequences or a loss, was not"
        " found: the description is not that of the model, so what the model says means nothing.",
        "Compare the target's tokenization and its model with what was trained; the check names the"
        " first place that differs.",
    ),
    "expectation-missing": Reason(
        "nothing to hold the description against",
        "The policy asks for what the model's trainer expects, and the target does not declare it.",
        "Add expect.tokens (sequences from the trainer's data loader) or expect.loss to the target"
        " and run the audit again.",
    ),
    # --- numbers that do not decide
    "bounds-straddle-limit": Reason(
        "limit lies within the bounds",
        "The limit lies between the lower and the upper bound: the data allow both.",
        "Audit on more patients; the power section says how likely a pass is with these.",
    ),
    "not-decided-by-numbers": Reason(
        "too few patients, or limit within the bounds",
        "The numbers do not decide: either too few patients have the class here, or could be"
        " measured, or the limit lies between the bounds, corrected for the number of tests where"
        " they have to be. Which of these it is would tell how many there were, or how many were"
        " hit, so only the internal report says it.",
        "Audit on more patients: the internal report says how many, and of what they are short.",
    ),
    "exceeds-uncorrected": Reason(
        "above the limit before correction",
        "The bound lies above the limit, but no longer once corrected for the number of tests"
        " tested: it is not shown to fail, and it blocks all the same.",
        "Audit on more patients, or treat it as a failure.",
    ),
    # --- nothing to judge from
    "capability-missing": Reason(
        "model does not allow this attack",
        "The target does not offer the access that this attack needs, or has no reference model, so"
        " it was not run.",
        "Give the audit that access, or take the attacker out of the control with a reason.",
    ),
    "class-not-in-data": Reason(
        "class not in the data",
        "No code of the data set stands for this class, so nobody could be measured: either no"
        " patient has it, or its codes are spelled in a way that was not recognised.",
        "See how its codes are spelled (`phigate classes coverage`): name their system in the"
        " target's codeSystems, or map them to one that phigate reads (`phigate classes map`); if"
        " the disease is absent, audit on data that have it, or mark the control with"
        " onInconclusive: warn.",
    ),
    "class-not-in-vocabulary": Reason(
        "class not in the model's vocabulary",
        "Patients have codes of this class, but no token of the model stands for one, so it could"
        " not be asked.",
        "Check the vocabulary and the target's tokenization; if the model was trained without"
        " these codes, mark the control with onInconclusive: warn, and say why.",
    ),
    "evidence-too-old": Reason(
        "evidence is too old",
        "The evidence is older than the policy accepts.",
        "Run the audit again with --fresh.",
    ),
    # --- prerequisites
    "not-declared": Reason(
        "not declared",
        "The policy presupposes it, and the target declares nothing of it.",
        "Have whoever answers for it declare in the target (`declarations`) whether it holds, with"
        " the day, the document, the model's digest and the widest release it speaks of; then audit"
        " again.",
    ),
    "declared-not-to-hold": Reason(
        "declared not to hold",
        "The target's owner declares that it does not hold. No measurement changes that, and nobody"
        " can waive it.",
        "Obtain what is missing (a licence, an approval), or do not release the model like this.",
    ),
    "declaration-of-another-model": Reason(
        "declared of another model",
        "The declaration names other model files than those that were audited; whether it is true"
        " of these, nobody says.",
        "Have it declared anew for this model: its digest is `modelSha256` of `phigate plan"
        " --json`.",
    ),
    "declared-for-another-release": Reason(
        "declared for another release",
        "The declaration speaks of another release than the policy does: who may share a model may"
        " not therefore publish it.",
        "Have it declared for this release, or judge by the policy for the release it speaks of.",
    ),
    "declared-in-future": Reason(
        "declaration not made yet",
        "The declaration bears a day after the one that was judged for.",
        "Correct the day, or judge as of a time when it had been made.",
    ),
    "declaration-outdated": Reason(
        "declaration is too old",
        "The declaration is older than the policy accepts.",
        "Have it declared again: licences and rules change.",
    ),
    "attempt-not-registered": Reason(
        "not registered in a ledger",
        "The policy requires an attempt ledger, and this audit was not registered in one before the"
        " model was asked: nobody knows how often it was tried until it passed.",
        "Measure again with the institution's ledger: `phigate check --fresh --ledger FILE`.",
    ),
    "not-run": Reason(
        "not run",
        "The measurement was planned and has not been run, or not to the end.",
        "Run the same command again: an audit goes on where it stopped.",
    ),
    "probe-crashed": Reason(
        "attack crashed",
        "The attack stopped with an error; what it would have found is unknown.",
        "Read the run's log, mend the cause and run the audit again.",
    ),
    "measure-crashed": Reason(
        "attack could not measure",
        "The attack's own code failed on what was observed; what it would have found is unknown.",
        "Mend the plug-in, and judge the run again with it: `phigate judge RUN`.",
    ),
}


def reason_words(reason: str) -> Reason:
    """Return a reason in words; one that a probe from outside phigate gives, as it is."""
    return REASONS.get(reason) or Reason(plain(reason), plain(reason), "")
