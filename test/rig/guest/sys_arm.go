package main

const sysFinitModule = 379

func clockSecond(s int64) int32 { return int32(s) }
