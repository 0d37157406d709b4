;;| tries = "imports the memory, the table and the globals of somebody else"
;;| wasm = "module_invalid"
(module
  (import "env" "memory" (memory 1))
  (import "env" "table" (table 1 funcref))
  (import "env" "secret" (global i32))
  (func (export "_start")))
