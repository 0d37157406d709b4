;;| tries = "has names that are no texts, and names of functions that are not there"
;;| wasm = ["module_invalid", "result_unusable"]
(module binary
  "\00asm\01\00\00\00"
  "\01\04\01\60\00\00"
  "\03\02\01\00"
  "\05\03\01\00\01"
  "\07\13\02\06memory\02\00\06_start\00\00"
  "\0a\04\01\02\00\0b"
  "\00\10\04name\01\09\01\ff\ff\ff\ff\0f\02\ff\fe")
