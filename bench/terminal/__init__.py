"""What a person sees while commands run."""
