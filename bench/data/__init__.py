"""What a run hears: recordings, corpora, features, and the clips of a run."""
