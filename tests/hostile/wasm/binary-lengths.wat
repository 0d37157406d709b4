;;| tries = "says of its sections and lists that they are 4 GiB long"
;;| wasm = "module_invalid"
(module binary
  "\00asm\01\00\00\00"
  "\01\ff\ff\ff\ff\0f\ff\ff\ff\ff\0f")
