"""The institution's own maps: what its codes are in systems that classes know.

Most hospitals code in SNOMED CT or with numbers of their own, which classes cannot ship. Who is
licensed for a map can bring it: `tables` reads local dictionaries and SNOMED CT's reference sets,
`omop` the vocabulary files of OMOP, `mapping` follows them from each code of a data set, and
`writing` leaves what they say in a new table of codes beside the old one.
"""

from __future__ import annotations

from checker.records.code_maps.mapping import CodeMapping, MappedCode, map_codes
from checker.records.code_maps.nodes import CodeMap, CodeNode
from checker.records.code_maps.writing import MAPPED_CODES, write_mapped_codes

__all__ = [
    "MAPPED_CODES",
    "CodeMap",
    "CodeMapping",
    "CodeNode",
    "MappedCode",
    "map_codes",
    "write_mapped_codes",
]
