"""Types that the other folders exchange: requests and their records, refusals, the observer and event log protocols."""
