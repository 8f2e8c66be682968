"""Figures of a report: one module a figure, each with what is drawn (`take`), how (`draw`) and in words (`words`).

Everything is a function of the stored runs. matplotlib is used through its objects, never through pyplot, so that
nothing global changes.
"""
