"""`make gpu-check`: is fastpath right on a card, how fast is it there, and what was the card doing meanwhile?

`driver` runs the stages of `stages` one after the other in a process of their own (`worker`), which a stage that fails
or takes too long ends without the others: the next begins in a new one. Every result is a line of `results.jsonl`, on
the disk when it is known; `table` makes Markdown of these lines.
"""
