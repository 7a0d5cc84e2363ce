"""Models that live in processes of their own and are asked over Arrow Flight.

`backend` describes and opens them, `server_process` starts and ends those that phigate starts,
`connection` is one side of the wire, and `remote_model` what looks like a model in this process,
which takes no answer that a model could not have given. The other side is
`checker.targets.adapter`.
"""
