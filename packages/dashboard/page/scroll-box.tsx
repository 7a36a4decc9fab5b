import type { ComponentChildren } from 'preact'

type Props = { readonly label: string; readonly class?: string; readonly children: ComponentChildren }

/** Something large that scrolls inside the page. The keyboard reaches it, in every browser. */
export const ScrollBox = ({ label, class: name = '', children }: Props) => (
  // biome-ignore lint/a11y/noNoninteractiveTabindex: without it Safari scrolls by mouse only
  <section class={`scroll-box ${name}`} aria-label={label} tabIndex={0}>
    {children}
  </section>
)
