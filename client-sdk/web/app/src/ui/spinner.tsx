/** Something is going on. What, says the text beside it. */
export function Spinner({ large = false }: { readonly large?: boolean }) {
  return <span class={large ? "spinner spinner-large" : "spinner"} aria-hidden="true" />;
}
