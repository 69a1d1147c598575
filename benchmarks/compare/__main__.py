from benchmarks.compare.command import main

main()
