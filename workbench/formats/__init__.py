"""What a run can be taken away as: pictures, annotation formats of other tools, arrays, a manifest, one zip."""
