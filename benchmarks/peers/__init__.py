"""What other tools say of the zoo's models, side by side with phigate.

memaudit 0.2, PrivacyGuard 0.0.2 (on PyPI privacyguard-platform) and sacroml 2.0.1 answer in an
environment of their own, with their own code; the membership and attribute tests of the toolkit of
Tonekaboni et al. 2025 are made by their definitions (`benchmarks.paper_reference`). `feeding` keeps
what a model says of every record, `asking` hands it to the tools, `table` says at which threshold
each of them speaks of a leak and writes the second half of `docs/zoo.md`.

    python -m venv peers-venv
    peers-venv/bin/pip install --no-deps torch==2.13.0 transformers==5.23.0 memaudit==0.2 \
        privacyguard-platform==0.0.2 sacroml==2.0.1
    peers-venv/bin/pip install numpy scipy scikit-learn "pandas<3" matplotlib fpdf2 pypdf pyyaml \
        sympy networkx jinja2 fsspec filelock typing_extensions tqdm huggingface_hub tokenizers \
        safetensors regex packaging
    python -m benchmarks.zoo --work zoo --out zoo.jsonl
    python -m benchmarks.peers --work zoo --zoo zoo.jsonl --python peers-venv/bin/python \
        --docs docs/zoo.md

The tools are installed without what they depend on, gigabytes of which nothing here touches. None
of their code is part of phigate.
"""
