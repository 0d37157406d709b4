//! What it costs to compile a function, told by its code without compiling it.
//!
//! The compiler's time and memory grow faster than a function: with its branches times the values that are there at each
//! of them, and with the square of its branches, of its loops above all. What compilers make has a few values and loops
//! at a time, so this hardly counts there; what means harm has nothing else. The weights were measured with wasmtime 48 on
//! functions that have as many branches, loops, values, calls or tables as fit, one kind at a time.

use wasmparser::{
    BlockType, CompositeInnerType, FuncToValidate, FuncValidatorAllocations, FunctionBody, Operator, OperatorsReader,
    Result, ValidatorResources, WasmModuleResources,
};

/// A branch or a call, a loop, and an operator that looks into tables or at types, by themselves.
const BRANCH_NS: u64 = 3_000;
const LOOP_NS: u64 = 10_000;
const LOOKUP_NS: u64 = 25_000;
/// A branch, times the values that are there. It may take 30 bytes of the compiler's memory as well.
const VALUE_NS: u64 = 450;
/// The square of the branches.
const BRANCHES_NS: u64 = 1;
/// The square of the loops.
const LOOPS_NS: u64 = 260;
/// The square of the calls whose exceptions are caught in the same function, times the values that are there.
const CAUGHT_CALLS_NS: u64 = 3;
/// The square of all values that blocks take and leave, of those that take any or leave several. It may take a byte of the
/// compiler's memory for 40 of these.
const PASSED_NS: u64 = 40;
/// The branches of an operator that looks into tables or at types.
const LOOKUP_BRANCHES: u64 = 4;

/// A function, as the compiler sees it.
#[derive(Debug, Default)]
pub(super) struct Cost {
    /// How long it may take to compile it, beside what its bytes take.
    pub(super) nanoseconds: u64,
    /// Variables, with parameters.
    pub(super) locals: u64,
    /// Loops within each other.
    pub(super) loops_nested: usize,
    /// Blocks within each other, of all kinds.
    pub(super) blocks_nested: usize,
}

/// A block that is open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Loop,
    Try,
    Other,
}

/// What a function costs, which is found to be valid on the way.
pub(super) fn of(function: FuncToValidate<ValidatorResources>, body: &FunctionBody<'_>) -> Result<Cost> {
    let resources = function.resources.clone();
    let mut validator = function.into_validator(FuncValidatorAllocations::default());
    let mut reader = body.get_binary_reader();
    validator.read_locals(&mut reader)?;
    let mut cost = Cost { locals: validator.len_locals().into(), ..Cost::default() };
    let mut operators = OperatorsReader::new(reader);
    let mut total = Total::default();
    let mut open = Vec::new();
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset()?;
        let is_caught = total.tries_open > 0;
        total.add(work(&operator), cost.locals + u64::from(validator.operand_stack_height()));
        validator.op(offset, &operator)?;
        let (block, shape) = match &operator {
            Operator::Loop { blockty } => (Block::Loop, *blockty),
            Operator::TryTable { try_table } => (Block::Try, try_table.ty),
            Operator::Block { blockty } | Operator::If { blockty } => (Block::Other, *blockty),
            Operator::End => {
                total.close(open.pop());
                continue;
            }
            operator => {
                total.caught_calls += u64::from(is_caught && is_call(operator));
                continue;
            }
        };
        open.push(block);
        total.open(block);
        if let BlockType::FuncType(index) = shape
            && let Some(ty) = resources.sub_type_at(index)
            && let CompositeInnerType::Func(ty) = &ty.composite_type.inner
        {
            total.passed += (ty.params().len() + ty.results().len()) as u64;
        }
        cost.blocks_nested = cost.blocks_nested.max(open.len());
        cost.loops_nested = cost.loops_nested.max(total.loops_open);
    }
    operators.finish()?;
    cost.nanoseconds = total.nanoseconds(cost.locals);
    Ok(cost)
}

/// What was counted so far.
#[derive(Default)]
struct Total {
    branches: u64,
    /// Branches, each times the values that are there.
    values: u64,
    loops: u64,
    lookups: u64,
    caught_calls: u64,
    passed: u64,
    loops_open: usize,
    tries_open: usize,
}

impl Total {
    fn add(&mut self, work: Work, values: u64) {
        let branches = match work {
            Work::Branches(count) => count,
            Work::Lookups(count) => LOOKUP_BRANCHES * count,
        };
        self.lookups += if let Work::Lookups(count) = work { count } else { 0 };
        self.branches = self.branches.saturating_add(branches);
        self.values = self.values.saturating_add(branches.saturating_mul(values));
    }

    fn open(&mut self, block: Block) {
        self.loops += u64::from(block == Block::Loop);
        self.loops_open += usize::from(block == Block::Loop);
        self.tries_open += usize::from(block == Block::Try);
    }

    fn close(&mut self, block: Option<Block>) {
        self.loops_open -= usize::from(block == Some(Block::Loop));
        self.tries_open -= usize::from(block == Some(Block::Try));
    }

    fn nanoseconds(&self, locals: u64) -> u64 {
        let square = |count: u64| count.saturating_mul(count);
        let parts = [
            self.branches.saturating_mul(BRANCH_NS),
            self.loops.saturating_mul(LOOP_NS),
            self.lookups.saturating_mul(LOOKUP_NS),
            self.values.saturating_mul(VALUE_NS),
            square(self.branches).saturating_mul(BRANCHES_NS),
            square(self.loops).saturating_mul(LOOPS_NS),
            square(self.passed).saturating_mul(PASSED_NS),
            square(self.caught_calls).saturating_mul(locals).saturating_mul(CAUGHT_CALLS_NS),
        ];
        parts.into_iter().fold(0, u64::saturating_add)
    }
}

fn is_call(operator: &Operator<'_>) -> bool {
    matches!(operator, Operator::Call { .. } | Operator::CallIndirect { .. } | Operator::CallRef { .. })
}

/// What the compiler makes of an operator.
#[derive(Clone, Copy)]
enum Work {
    Branches(u64),
    /// Each is some branches, and a call of the host.
    Lookups(u64),
}

/// A call counts as a branch: all values that are there must be saved, and within a `try_table` it is one.
fn work(operator: &Operator<'_>) -> Work {
    match operator {
        Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => Work::Branches(1),
        Operator::Else | Operator::End | Operator::Return => Work::Branches(1),
        Operator::Br { .. } | Operator::BrIf { .. } | Operator::Call { .. } => Work::Branches(1),
        Operator::BrTable { targets } => Work::Branches(1 + u64::from(targets.len())),
        Operator::TryTable { try_table } => Work::Branches(1 + try_table.catches.len() as u64),
        Operator::CallIndirect { .. } | Operator::MemoryGrow { .. } => Work::Lookups(1),
        Operator::RefTestNonNull { .. } | Operator::RefTestNullable { .. } => Work::Lookups(2),
        Operator::RefCastNonNull { .. } | Operator::RefCastNullable { .. } => Work::Lookups(2),
        Operator::BrOnCast { .. } | Operator::BrOnCastFail { .. } => Work::Lookups(2),
        operator if is_plain(operator) => Work::Branches(0),
        _ => Work::Lookups(1),
    }
}

/// Whether an operator only computes: those of the first version of WebAssembly, where branches and calls are named above,
/// and of vectors. Later ones look into tables, at types, or copy.
fn is_plain(operator: &Operator<'_>) -> bool {
    macro_rules! proposal {
        ($(@$proposal:ident $name:ident $({ $($member:ident: $type:ty),* })? => $visit:ident ($($annotation:tt)*))*) => {
            match operator {
                $(Operator::$name { .. } => stringify!($proposal),)*
                _ => "unknown",
            }
        };
    }
    let proposal = wasmparser::for_each_operator!(proposal);
    ["mvp", "sign_extension", "saturating_float_to_int", "simd", "relaxed_simd"].contains(&proposal)
}
