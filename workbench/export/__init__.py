"""What a run can be taken away as: files, annotation formats, answers for programs, links and code."""
