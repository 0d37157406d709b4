;;| tries = "declares four billion local variables in eleven bytes"
;;| wasm = "module_invalid"
(module binary
  "\00asm\01\00\00\00"
  "\01\04\01\60\00\00"
  "\03\02\01\00"
  "\05\03\01\00\01"
  "\07\13\02\06memory\02\00\06_start\00\00"
  "\0a\0b\01\09\01\ff\ff\ff\ff\0f\7e\01\0b")
