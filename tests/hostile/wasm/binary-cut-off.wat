;;| tries = "ends in the middle of a function"
;;| wasm = "module_invalid"
(module binary
  "\00asm\01\00\00\00"
  "\01\04\01\60\00\00"
  "\03\02\01\00"
  "\0a\06\01\80\80")
