package main

const sysFinitModule = 273

func clockSecond(s int64) int64 { return s }
