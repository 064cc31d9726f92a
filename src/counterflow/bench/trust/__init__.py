"""Makes and evaluates calibrations: pictures and sentences that fit a model and that do not."""
