package spread

const querierRole = "OKLOG_TEST_QUERIER"

func runQuerier(string) error { return nil }
