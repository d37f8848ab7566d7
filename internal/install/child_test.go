package install

const childVariable = "INSTALL_TEST_CHILD"

func childMain() int { return 0 }
