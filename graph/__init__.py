"""The ground floor: the captured graph, how it is edited, the contract of a pass, and what a graph costs."""
