"""What a job is: states, claims, plans and records.

Everything here is pure: no process is started, no file and no database is
opened.
"""
