"""Latency and memory on the device at hand: what a space's rows take, and whole networks beside.

`points` says which rows a space can have, `programs` compiles them, `clock` times them, `table`
does so for all and leaves a file that ``design.latency_table`` reads, `whole` times networks beside
what that file predicts, and `memory` predicts what their maps need.
"""
