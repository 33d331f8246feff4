"""A campaign of faults: whole applies, disturbed at every file and HTTP effect they have, judged by a provider's bill.

``python -m benchmarks.faults --schedules 10000 --seed 1``

================  ====================================================================================================
``schedule``      what is to go wrong in one project's life, as a value that can be written down and played again
``draw``          schedules from a seed
``timeline``      a clock that several processes share, and that only waiting moves
``durable``       what a power cut would leave of a folder
``upsets``        in a process that is about to run a command: its effects counted, and the planned ones disturbed
``nursery``       a process that forks one child for each command
``places``        provider types and dialects in front of a simulator
``project``       the project that is disturbed
``theatre``       one schedule played: disturbed runs, undisturbed ones until all is quiet, and the bill
``verdict``       what the bill, the outputs and the state say of it
``__main__``      many schedules side by side, and the figures
================  ====================================================================================================
"""
