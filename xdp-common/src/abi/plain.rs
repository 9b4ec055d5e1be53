//! Which types may cross the border, and the one macro that defines such structs.

/// A type without padding and for which every bit pattern is valid.
///
/// # Safety
///
/// The implementor is `repr(C)` or a primitive integer or an array of `Plain`, has no padding
/// bytes, and any bytes of its size are a value of it.
pub unsafe trait Plain: Copy + 'static {
    /// The value whose bytes are all zero.
    const ZERO: Self;
}

macro_rules! plain_integers {
    ($($t:ty)+) => {$(
        // SAFETY: a primitive integer has no padding and no invalid bit pattern.
        unsafe impl Plain for $t {
            const ZERO: Self = 0;
        }
    )+};
}
plain_integers!(u8 u16 u32 u64);

// SAFETY: an array has no padding between its elements, and each is `Plain`.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {
    const ZERO: Self = [T::ZERO; N];
}

/// Defines a struct that crosses the border: `pub struct Name: SIZE { field: Type, … }`.
///
/// Refuses, at compile time, another size than the one stated, any padding, and any field that
/// isn't [`Plain`] (`bool`, `Option`, `usize`, enums, references).
macro_rules! abi_struct {
    ($(#[$meta:meta])* pub struct $name:ident: $size:literal {
        $($(#[$fmeta:meta])* $field:ident: $ty:ty,)+
    }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$fmeta])* pub $field: $ty,)+
        }

        const _: () = {
            assert!(size_of::<$name>() == $size, "the size is not the one stated");
            assert!(0 $(+ size_of::<$ty>())+ == $size, "there is padding");
        };

        // SAFETY: `repr(C)`; the assertions above exclude padding, and `ZERO` only compiles when
        // every field is `Plain`, so every bit pattern is valid.
        unsafe impl $crate::abi::Plain for $name {
            const ZERO: Self = Self { $($field: <$ty as $crate::abi::Plain>::ZERO,)+ };
        }

        // SAFETY: what `Plain` promises is what the loader's marker asks for.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $name {}

        impl $name {
            /// Field names with offsets and sizes, for the golden layout.
            pub const LAYOUT: &'static [(&'static str, usize, usize)] = &[
                $((stringify!($field), core::mem::offset_of!($name, $field), size_of::<$ty>()),)+
            ];
        }
    };
}
