"""How the synthetic streets are painted: canvas and shapes first, then what stands in a street, last where it stands."""
