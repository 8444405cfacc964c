"""Comparing lineups: bring them up, send both the same workload in turns, say what differs beyond the noise.

workload.py   what is asked, by whom, from where
load.py       open loop for latency, closed loop for throughput
measure.py    processor time, memory and binaries of a running line
rounds.py     two lines, interleaved rounds
report.py     medians, spread, noise; text
html.py       the same as one self-contained page
"""
