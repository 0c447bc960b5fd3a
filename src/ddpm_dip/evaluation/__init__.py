"""Images in, numbers out: displays, feature nets and metrics by name; the Frechet distance; smoothness of strips."""
