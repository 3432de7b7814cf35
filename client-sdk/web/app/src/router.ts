/** Where in the app one is: the path of the page, as a signal. */

import { signal } from "@preact/signals";

export type Route =
  | { readonly page: "home" }
  | { readonly page: "meeting"; readonly slug: string; readonly asGuest: boolean }
  | { readonly page: "unknown" };

/** Slugs as the server makes them, and those that people chose. */
const SLUG = /^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$/;

/** What page a path stands for. */
export function parseRoute(pathname: string, search: string): Route {
  if (pathname === "/" || pathname === "/index.html") return { page: "home" };
  const [, slug] = /^\/m\/([^/]+)\/?$/.exec(pathname) ?? [];
  if (slug !== undefined) {
    return { page: "meeting", slug: slug.toLowerCase(), asGuest: new URLSearchParams(search).has("guest") };
  }
  return { page: "unknown" };
}

/** The slug in what somebody typed or pasted: a link, or the code alone. Undefined if there is none in it. */
export function slugOf(input: string): string | undefined {
  const trimmed = input.trim();
  const [, fromLink] = /\/m\/([^/?#\s]+)/.exec(trimmed) ?? [];
  const slug = (fromLink ?? trimmed).toLowerCase();
  return SLUG.test(slug) ? slug : undefined;
}

export const route = signal<Route>({ page: "home" });

/** Begins to follow the address of the page. */
export function startRouter(): void {
  const read = () => {
    route.value = parseRoute(location.pathname, location.search);
  };
  addEventListener("popstate", read);
  read();
}

/** Goes to another page of the app. */
export function navigate(path: string): void {
  history.pushState(null, "", path);
  route.value = parseRoute(location.pathname, location.search);
  scrollTo(0, 0);
}
