//! The `#[meshup_sdk::filter]` attribute.
//!
//! It checks the function's shape and writes the module's exports; everything they do is in `meshup-sdk`.
//!
//! **Invariant:** the function stays as written, except that its configuration is borrowed for `'static`.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{quote, quote_spanned};
use syn::{Error, FnArg, ItemFn, Lifetime, Result, ReturnType, Type, parse_macro_input, spanned::Spanned};

/// Makes an async function the filter of this module.
///
/// ```text
/// #[meshup_sdk::filter]
/// async fn hello(req: Request, next: Next) -> Response {
///     next.pass(req)
/// }
/// ```
///
/// The function takes `(req: Request, next: Next)` or `(config: &Config, req: Request, next: Next)` and returns
/// anything that is `IntoResponse`. The configuration lives as long as the filter, so closures may keep `config`.
#[proc_macro_attribute]
pub fn filter(args: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    expand(&args.into(), function).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(args: &Tokens, mut function: ItemFn) -> Result<Tokens> {
    if !args.is_empty() {
        return Err(Error::new_spanned(args, "`filter` takes no arguments"));
    }
    check_signature(&function)?;
    make_config_static(&mut function)?;
    let exports = exports(&function);
    Ok(quote! {
        #[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
        #function
        #exports
    })
}

fn check_signature(function: &ItemFn) -> Result<()> {
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        return Err(Error::new_spanned(signature.fn_token, "a filter is an `async fn`"));
    }
    if signature.generics.params.iter().next().is_some() {
        return Err(Error::new_spanned(&signature.generics, "a filter has no generic parameters or lifetimes"));
    }
    if let Some(receiver) = signature.receiver() {
        return Err(Error::new_spanned(receiver, "a filter is a free function, without `self`"));
    }
    if !matches!(signature.inputs.len(), 2 | 3) {
        let shape = "a filter takes `(req: Request, next: Next)` or `(config: &Config, req: Request, next: Next)`";
        return Err(Error::new(signature.paren_token.span.join(), shape));
    }
    if matches!(signature.output, ReturnType::Default) {
        return Err(Error::new_spanned(signature, "a filter returns a response: add `-> Response`"));
    }
    Ok(())
}

/// `config: &Config` becomes `config: &'static Config`, which it is.
fn make_config_static(function: &mut ItemFn) -> Result<()> {
    let inputs = &mut function.sig.inputs;
    let (3, Some(FnArg::Typed(config))) = (inputs.len(), inputs.first_mut()) else { return Ok(()) };
    match &mut *config.ty {
        Type::Reference(reference) if reference.mutability.is_none() => {
            reference.lifetime.get_or_insert_with(|| Lifetime::new("'static", reference.and_token.span()));
            Ok(())
        }
        other => Err(Error::new_spanned(other, "the configuration is a shared reference: `config: &Config`")),
    }
}

fn exports(function: &ItemFn) -> Tokens {
    let name = &function.sig.ident;
    let output = &function.sig.output;
    let span = match output {
        ReturnType::Type(_, ty) => ty.span(),
        ReturnType::Default => name.span(),
    };
    let configure = quote_spanned!(span=> ::meshup_sdk::__private::configure(#name, len));
    let check = quote_spanned!(span=> ::meshup_sdk::__private::check(#name));
    quote! {
        #[cfg(not(target_family = "wasm"))]
        const _: fn() = || #check;

        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, reason = "an export's name is fixed")]
        const _: () = {
            #[unsafe(no_mangle)]
            extern "C" fn meshup_abi_version() -> u32 {
                ::meshup_sdk::__private::VERSION
            }

            #[unsafe(no_mangle)]
            extern "C" fn meshup_buffer(len: u32) -> u32 {
                ::meshup_sdk::__private::buffer(len)
            }

            #[unsafe(no_mangle)]
            extern "C" fn meshup_configure(len: u32) -> u64 {
                #configure
            }

            #[unsafe(no_mangle)]
            extern "C" fn meshup_on_event(exchange: u32, event: u32, len: u32) -> u64 {
                ::meshup_sdk::__private::on_event(exchange, event, len)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    fn refusal(function: ItemFn) -> String {
        expand(&Tokens::new(), function).unwrap_err().to_string()
    }

    #[test]
    fn a_function_of_another_shape_is_refused_with_what_is_missing() {
        let cases: [(ItemFn, &str); 7] = [
            (
                parse_quote!(
                    fn f(req: Request, next: Next) -> Response {}
                ),
                "a filter is an `async fn`",
            ),
            (
                parse_quote!(
                    async fn f<T>(req: Request, next: Next) -> Response {}
                ),
                "no generic parameters",
            ),
            (
                parse_quote!(
                    async fn f<'a>(c: &'a C, req: Request, next: Next) -> Response {}
                ),
                "no generic parameters",
            ),
            (
                parse_quote!(
                    async fn f(&self, req: Request, next: Next) -> Response {}
                ),
                "without `self`",
            ),
            (
                parse_quote!(
                    async fn f(req: Request) -> Response {}
                ),
                "a filter takes `(req: Request, next: Next)`",
            ),
            (
                parse_quote!(
                    async fn f(c: Config, req: Request, next: Next) -> Response {}
                ),
                "`config: &Config`",
            ),
            (
                parse_quote!(
                    async fn f(req: Request, next: Next) {}
                ),
                "add `-> Response`",
            ),
        ];
        for (function, expected) in cases {
            let said = refusal(function);
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn arguments_are_refused() {
        let function = parse_quote!(
            async fn f(req: Request, next: Next) -> Response {}
        );
        assert_eq!(expand(&quote!(fast), function).unwrap_err().to_string(), "`filter` takes no arguments");
    }

    #[test]
    fn the_configuration_is_borrowed_for_static() {
        let function = parse_quote!(
            async fn f(config: &Config, mut req: Request, next: Next) -> Response {}
        );
        let expanded = expand(&Tokens::new(), function).unwrap().to_string();
        assert!(expanded.contains("config : & 'static Config"), "{expanded}");
        for export in ["meshup_abi_version", "meshup_buffer", "meshup_configure", "meshup_on_event"] {
            assert!(expanded.contains(export), "{export} is not exported");
        }
    }
}
