"""The rewrite of the graph: layers as the runtimes want each format."""
