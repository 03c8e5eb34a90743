"""From raw points to the curves of a device profile, with the error on points that were held out."""
