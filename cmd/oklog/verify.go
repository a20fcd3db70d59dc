package main

import (
	"github.com/urfave/cli/v2"
)

func verifyCommand(std streams) *cli.Command { return &cli.Command{Name: "verify"} }
