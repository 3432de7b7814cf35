/** The mark of the product. */
export function Logo({ size = 32 }: { readonly size?: number }) {
  return (
    <svg class="logo" width={size} height={size} viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="9" />
      <path d="M9 8h3v2.5h2.4V8h3.2v2.5H20V8h3v6l-2 2v8h-3v-3.5a2 2 0 0 0-4 0V24h-3v-8l-2-2z" />
    </svg>
  );
}
