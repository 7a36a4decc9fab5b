/** A bar from 0 to 100. */
export const Meter = ({ value, label }: { readonly value: number; readonly label: string }) => (
  <progress class="meter" max={100} value={value} aria-label={label} />
)
