"""A made-up organisation, its hierarchy and its shop: made through the portal's own services, to show and to rehearse."""
