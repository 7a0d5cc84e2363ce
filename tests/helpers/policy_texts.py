"""A hospital's policy, and those of others that extend it or stand beside it."""

HOSPITAL = """\
apiVersion: phigate/v1
kind: LeakagePolicy
metadata: {name: hospital, version: "1.4.2"}
spec:
  context: gated
  parameters: {confidence: 0.95, minCell: 11, admissibilityTolerance: 0.10}
  attackers:
    broker: {title: Broker, knows: {static: [age, sex]}}
    relative: {title: Relative, extends: broker, knows: {events: 10}, report: only}
  attributeClasses:
    hiv:
      title: HIV
      codes:
        - {system: icd9cm, tier: definitive, values: ["042", "V08"]}
        - {system: icd10cm, tier: suggestive, values: ["B59", "C46"]}
  controls:
    disclosure:
      title: Tell no HIV status
      attributeClass: hiv
      probe: attribute-disclosure
      params: {samples: 20}
      metric: excess_disclosure
      limits:
        broker: {warn: 0.03, fail: 0.05}
      cites: [a-law]
  citations:
    a-law: {title: A law, basis: legal-duty}
  gate: {failOn: [critical, high], maxEvidenceAge: P90D}
"""

WARD = """\
apiVersion: phigate/v1
kind: LeakagePolicy
metadata: {name: ward, version: "1.0"}
spec:
  extends: [{ref: "hospital@1.4"}]
"""

TIGHTER = """\
  context: internal
  parameters: {confidence: 0.99, minCell: 20, admissibilityTolerance: 0.05, expectedBaseRate: 0.05}
  attackers:
    broker: {knows: {static: [race]}}
    relative: {knows: {events: 20}, access: logprobs, report: gate}
    insider: {title: Insider, extends: relative, knows: {events: all}, access: logprobs}
  attributeClasses:
    hiv:
      codes:
        - {system: icd10cm, tier: definitive, values: ["B20", "C46"]}
  controls:
    disclosure:
      title: Never tell
      limits:
        broker: {fail: 0.02}
        relative: {fail: 0.05}
      subgroups: [rare_code]
      severity: critical
      enforcement: absolute
      onInconclusive: block
      cites: [a-study]
    membership:
      title: Tell no members
      probe: membership-inference
      metric: membership_auroc
      limits: {insider: {fail: 0.6}}
      cites: [a-study]
  citations:
    a-study: {title: A study, basis: evidence}
  gate: {failOn: [critical, high, medium], maxEvidenceAge: P30D}
"""

REGION = """\
apiVersion: phigate/v1
kind: LeakagePolicy
metadata: {name: region, version: "2"}
spec:
  context: internal
  parameters: {minCell: 5, admissibilityTolerance: 0.05}
  attackers:
    broker: {title: Trader, knows: {static: [sex, race]}}
    payer: {title: Payer, knows: {events: 20}}
  attributeClasses:
    hiv:
      title: HIV infection
      codes:
        - {system: icd9cm, tier: strong, values: ["V08", "079.53"]}
        - {system: icd10cm, tier: definitive, values: ["C46"]}
  controls:
    disclosure:
      title: No HIV status
      attributeClass: hiv
      probe: attribute-disclosure
      metric: excess_disclosure
      limits:
        broker: {warn: 0.01, fail: 0.09}
        payer: {fail: 0.09}
      severity: critical
      subgroups: [rare_code]
  gate: {failOn: [critical, medium]}
"""

WAIVERS = "  waivers: {approverRoles: [officer, chair], minApprovers: 2, maxDuration: P90D}\n"

LADDER = """\
apiVersion: phigate/v1
kind: LeakagePolicy
metadata: {name: ladder, version: "1"}
spec:
  abstract: true
  context: public-weights
  attackers:
    k1: {title: Public, knows: {static: all}}
    k3: {title: Partial, extends: k1, knows: {events: 10}}
"""
