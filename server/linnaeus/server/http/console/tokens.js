// The tokens of this page: typed in, kept in memory only, gone with the page.

const typed = { infer: "", admin: "" };

export function setToken(right, token) {
  typed[right] = token.trim();
}

// The headers that a request with this right needs. A token with the right admin may classify, too.
export function authorization(right) {
  const token = right === "admin" ? typed.admin || typed.infer : typed.infer || typed.admin;
  return token ? { Authorization: `Bearer ${token}` } : {};
}

export function hasToken() {
  return Boolean(typed.infer || typed.admin);
}
