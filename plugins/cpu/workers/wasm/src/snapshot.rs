//! What the snapshot library asks of an instance: the contents of its memory and its globals.

use anyhow::Result;
use wasmtime::component::{self, Lift, WasmList};
use wasmtime::{Store, Val};
use wasmtime_wizer::{ComponentInstanceState, InstanceState, SnapshotVal, ValType};

/// An instance of a module that the library has instrumented.
pub(crate) struct Instance<'a, T: 'static> {
    pub(crate) store: &'a mut Store<T>,
    pub(crate) instance: wasmtime::Instance,
}

/// An instance of a component that the library has instrumented.
pub(crate) struct ComponentInstance<'a, T: 'static> {
    pub(crate) store: &'a mut Store<T>,
    pub(crate) instance: component::Instance,
}

/// What runs instances while an image is made.
pub(crate) fn executor() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_time().build()?)
}

// The library names only what its own instrumentation exports, with the types that it has given it: anything else is a
// defect of this program, which ends here with an image that is not made.

impl<T: Send> InstanceState for Instance<'_, T> {
    async fn global_get(&mut self, name: &str, _: ValType) -> SnapshotVal {
        let global = self.instance.get_global(&mut *self.store, name).expect("an exported global");
        match global.get(&mut *self.store) {
            Val::I32(value) => SnapshotVal::I32(value),
            Val::I64(value) => SnapshotVal::I64(value),
            Val::F32(bits) => SnapshotVal::F32(bits),
            Val::F64(bits) => SnapshotVal::F64(bits),
            Val::V128(value) => SnapshotVal::V128(value.as_u128()),
            other => panic!("a global that is no number: {other:?}"),
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        let memory = self.instance.get_memory(&mut *self.store, name).expect("an exported memory");
        contents(memory.data(&*self.store));
    }
}

impl<T: Send> ComponentInstance<'_, T> {
    async fn call<R: Lift + Send + Sync + 'static, O>(
        &mut self,
        instance: &str,
        function: &str,
        read: impl FnOnce(&Store<T>, R) -> O,
    ) -> O {
        let (_, instance) = self.instance.get_export(&mut *self.store, None, instance).expect("an exported instance");
        let (_, function) =
            self.instance.get_export(&mut *self.store, Some(&instance), function).expect("an exported function");
        let function =
            self.instance.get_typed_func::<(), (R,)>(&mut *self.store, &function).expect("a function of its type");
        let (result,) = function.call_async(&mut *self.store, ()).await.expect("a function that only reads");
        read(self.store, result)
    }
}

impl<T: Send> ComponentInstanceState for ComponentInstance<'_, T> {
    async fn call_func_ret_list_u8(&mut self, instance: &str, func: &str, contents: impl FnOnce(&[u8]) + Send) {
        self.call(instance, func, |store, list: WasmList<u8>| contents(list.as_le_slice(store))).await;
    }

    async fn call_func_ret_s32(&mut self, instance: &str, func: &str) -> i32 {
        self.call(instance, func, |_, value| value).await
    }

    async fn call_func_ret_s64(&mut self, instance: &str, func: &str) -> i64 {
        self.call(instance, func, |_, value| value).await
    }

    async fn call_func_ret_f32(&mut self, instance: &str, func: &str) -> u32 {
        self.call(instance, func, |_, value: f32| value.to_bits()).await
    }

    async fn call_func_ret_f64(&mut self, instance: &str, func: &str) -> u64 {
        self.call(instance, func, |_, value: f64| value.to_bits()).await
    }
}
